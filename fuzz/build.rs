//! The plugin asks the program that loads it for `log_write` and `expand_string_2`, by name.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=arguments=-rdynamic");
}
