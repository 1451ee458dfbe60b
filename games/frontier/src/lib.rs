//! The reference game of Pelago.
