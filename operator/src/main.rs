//! The program of the operator.

fn main() {}
