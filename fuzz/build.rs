//! Exports the functions of the target `arguments`, because the plugin looks up `log_write` and
//! `expand_string_2` by name in the program that loads it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=arguments=-rdynamic");
}
