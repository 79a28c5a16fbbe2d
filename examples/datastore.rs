//! A list that several sides share live, and a pool that they fill until all have the same.
fn main() {}
