//! Tells cargo that the migrations are part of the program, so that a new one is not overlooked.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
