//! A migration that is new is in no file that cargo knows of.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
