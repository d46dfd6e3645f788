/// Whether this runs in a guest of ktest, as root.
pub fn in_guest() -> bool {
    let parent = std::os::unix::process::parent_id();
    std::env::var("IN_KTEST").as_deref() == Ok("true") && parent == 1
}

#[test]
fn runs_in_a_guest() {
    assert!(in_guest());
}

#[test]
fn reads_its_data() {
    assert_eq!(std::fs::read_to_string("testdata/word").unwrap(), "word\n");
}
