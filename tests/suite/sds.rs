//! Facts about the layer `sds`: what survives a restart, how failures are taken, and that both ways of
//! writing speak of one state.

mod failures;
mod node;
mod operations;
mod random;
mod restarts;
mod stored;
mod tabs;
mod writers;
