//! The whole system, from outside. One module a subject.

mod virtual_pi;
