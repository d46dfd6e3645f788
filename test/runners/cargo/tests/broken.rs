fn main() {
    if guest::in_guest() {
        println!("failed in a guest");
    }
    std::process::exit(3);
}
