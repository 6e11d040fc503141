//! The whole system, from outside. One module a subject.

mod bad_input;
mod demo;
mod doctor;
mod export;
mod kill;
mod line;
mod meeting;
mod outage;
mod qemu_user;
mod replay;
mod virtual_pi;
mod virtual_pi_sensors;
