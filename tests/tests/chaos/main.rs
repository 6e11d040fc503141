//! What happens to networks and machines, all at once: nobody must lose a frame by it, or get one twice.

mod sockets;
mod swarms;
