//! Layer `write_behind`: memory is the truth, the store follows.
