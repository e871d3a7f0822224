//! How many names a user meets.

use crate::code::{body, code};

/// Most names of `millstream::state`: more cannot be kept in mind.
const STATE_NAMES_MAX: usize = 25;

/// The names that `pub use` lines export, but for those of the module `internal`.
pub(crate) fn exported(text: &str) -> Vec<String> {
    let mut code = code(text);
    if let Some(at) = code.find("pub mod internal")
        && let Some((start, end)) = body(&code, at)
    {
        code.replace_range(start..end, "");
    }
    let uses = code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let paths = uses.flat_map(|paths| paths.split(['{', '}', ',']));
    let names = paths.map(|path| path.rsplit([':', ' ']).next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn names_of_keyed_state_can_be_kept_in_mind() {
    let module = crate::files(&["src/state/mod.rs"], "rs");
    let names = exported(&module[0].text);
    assert!(!names.contains(&"*".to_owned()), "names that cannot be counted");
    assert!(!names.is_empty() && names.len() <= STATE_NAMES_MAX, "{} names: {names:?}", names.len());
}

#[test]
fn exported_names_are_found() {
    let text = "pub use a::B;\npub(crate) use c::D;\npub use e::{\n    F, G as H,\n    i::J,\n};\n\
                // pub use k::L;\npub mod internal {\n    pub use m::N;\n}\npub use o::*;\n";
    assert_eq!(exported(text), ["B", "F", "H", "J", "*"]);
}
