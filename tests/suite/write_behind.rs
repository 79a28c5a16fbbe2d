//! The layer `write_behind`: what is dirty, what a flush has done, what is strong, what repair removes.

mod app;
mod bootstrap;
mod dirty_sets;
mod flusher;
mod flushing;
mod mixed;
mod model;
mod repairing;
mod strong;
