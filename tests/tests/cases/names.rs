//! Names: of any bytes, found again under the same name, and told with the exact bytes.
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
};

use serde_json::{Value, json};
use vedette_crds::record::ByteText;

use crate::scene::{Scene, Seen, srv};

/// Names that a host may have, as bytes.
fn names() -> Vec<Vec<u8>> {
    let text = [
        // More than one byte a character: accents, CJK, Greek, emoji, one character that is written in two ways.
        "é",
        "e\u{301}",
        "檔案",
        "Δείγμα",
        "🗿",
        "\u{202e}gpj.exe",
        // What shells and lists trip over.
        "-rf",
        "--",
        " leading",
        "trailing ",
        "trailing.",
        ".hidden",
        "..twodots",
        "...",
        "a, b",
        "a,b;c",
        "$HOME",
        "~",
        "%s",
        // What patterns and formats trip over.
        "*",
        "[x]",
        "{a,b}",
        "\"quoted\"",
        "back\\slash",
        "\\u0041",
        "tab\there",
        "new\nline",
        "\u{1b}[2J",
        "\r",
        "\u{7f}",
        "\u{85}",
    ];
    let bytes: [&[u8]; 5] = [b"\xff\xfe", b"half\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\x01"];
    let long = [vec![b'n'; 255], vec![0x80; 255], "檔".repeat(85).into_bytes()];
    text.iter().map(|text| text.as_bytes().to_vec()).chain(bytes.map(<[u8]>::to_vec)).chain(long).collect()
}

/// The exact bytes of a member, from its text or from the bytes beside it.
fn exact(change: &Value, member: &str) -> Vec<u8> {
    let bytes = change[format!("{member}Bytes")].as_str();
    ByteText(change[member].as_str().unwrap().to_owned()).to_bytes(bytes)
}

/// The names that are told under a directory by this change, sorted.
fn told_names(seen: &Seen, directory: &str, change_type: &str, fields: &Value) -> Vec<Vec<u8>> {
    let is_it = |change: &&&Value| change["changeType"] == change_type && change["fields"] == *fields;
    let mut names: Vec<Vec<u8>> = seen
        .changes()
        .iter()
        .filter(is_it)
        .filter_map(|change| exact(change, "path").strip_prefix(directory.as_bytes()).map(<[u8]>::to_vec))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names
}

#[test]
fn files_of_any_name_are_added_modified_and_removed_under_their_exact_bytes() {
    let scene = Scene::with(srv(), &[("/srv/d/.keep", "")]);
    scene.remove("/srv/d/.keep");
    scene.scan();
    let mut names = names();
    names.sort();
    let at = |name: &[u8]| scene.at("/srv/d").join(OsStr::from_bytes(name));
    let none = Value::Null;
    names.iter().for_each(|name| fs::write(at(name), "1").unwrap());
    assert_eq!(told_names(&scene.scan(), "/srv/d/", "Added", &none), names);
    scene.scan().nothing();
    names.iter().for_each(|name| fs::write(at(name), "22").unwrap());
    assert_eq!(told_names(&scene.scan(), "/srv/d/", "Modified", &json!(["Content", "Size"])), names);
    names.iter().for_each(|name| fs::remove_file(at(name)).unwrap());
    assert_eq!(told_names(&scene.scan(), "/srv/d/", "Removed", &none), names);
    scene.scan().nothing();
}

#[test]
fn directories_of_any_name_are_entered() {
    let scene = Scene::with(srv(), &[("/srv/d/.keep", "")]);
    let mut names = names();
    names.sort();
    let file = |name: &[u8]| scene.at("/srv/d").join(OsStr::from_bytes(name)).join("file");
    for name in &names {
        fs::create_dir(file(name).parent().unwrap()).unwrap();
        fs::write(file(name), "1").unwrap();
    }
    assert_eq!(scene.told().len(), 2 * names.len());
    names.iter().for_each(|name| fs::write(file(name), "22").unwrap());
    let seen = scene.scan();
    let mut found: Vec<Vec<u8>> = seen.changes().iter().map(|change| exact(change, "path")).collect();
    found.sort();
    let expected: Vec<Vec<u8>> = names.iter().map(|name| [b"/srv/d/", name.as_slice(), b"/file"].concat()).collect();
    assert_eq!(found, expected);
    fs::remove_dir_all(scene.at("/srv/d")).unwrap();
    assert_eq!(scene.told().len(), 2 * names.len() + 2, "and what was there at first");
}

#[test]
fn links_to_targets_of_any_bytes_keep_them() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    let names = names();
    for (number, name) in names.iter().enumerate() {
        symlink(OsStr::from_bytes(name), scene.at(&format!("/srv/link{number}"))).unwrap();
    }
    let seen = scene.scan();
    let changes = seen.changes();
    assert_eq!(changes.len(), names.len());
    for change in changes {
        let number: usize = change["path"].as_str().unwrap().trim_start_matches("/srv/link").parse().unwrap();
        assert_eq!(exact(&change["after"], "linkTarget"), names[number]);
    }
}

#[test]
fn files_that_are_renamed_to_names_of_any_bytes_name_both_ends_exactly() {
    let scene = Scene::new(srv());
    let names = names();
    let plain = |number: usize| format!("/srv/plain{number}");
    (0..names.len()).for_each(|number| scene.write(&plain(number), "1"));
    scene.baseline();
    for (number, name) in names.iter().enumerate() {
        fs::rename(scene.at(&plain(number)), scene.at("/srv").join(OsStr::from_bytes(name))).unwrap();
    }
    let seen = scene.scan();
    for (number, name) in names.iter().enumerate() {
        let path = [b"/srv/", name.as_slice()].concat();
        let of = |path: &[u8]| *seen.changes().iter().find(|change| exact(change, "path") == path).unwrap();
        assert_eq!(of(&path)["movedFrom"], plain(number));
        assert_eq!(exact(of(plain(number).as_bytes()), "movedTo"), path);
    }
}

#[test]
fn names_that_differ_in_case_or_in_how_an_accent_is_written_are_different_files() {
    let scene =
        Scene::with(srv(), &[("/srv/Readme", "1"), ("/srv/readme", "1"), ("/srv/é", "1"), ("/srv/e\u{301}", "1")]);
    scene.write("/srv/readme", "22");
    scene.write("/srv/e\u{301}", "22");
    assert_eq!(scene.told(), ["Modified /srv/e\u{301} Content,Size", "Modified /srv/readme Content,Size"]);
}

#[test]
fn comma_and_space_in_a_configured_path_belong_to_the_path() {
    let entries = json!([
        {"name": "files", "path": "/my files, all/*"},
        {"name": "less", "path": "/other, too", "exclude": ["a, b", "/other, too/c d/**"]},
    ]);
    let files = ["/my files, all/a, b", "/my", "/ all/a", "/other, too/a, b", "/other, too/c d/e", "/other, too/f"];
    let scene = Scene::with(entries, &files.map(|file| (file, "1")));
    files.iter().for_each(|file| scene.write(file, "22"));
    let told = ["Modified /my files, all/a, b Content,Size", "Modified /other, too/f Content,Size"];
    assert_eq!(scene.told(), told);
}

#[test]
fn names_outside_of_ascii_can_be_configured() {
    let entries = json!([
        {"name": "exact", "path": "/données/檔案"},
        {"name": "class", "path": "/Δ/[α-ω]?", "exclude": ["/Δ/🗿*"]},
    ]);
    let files = ["/données/檔案/a", "/données/b", "/Δ/αé", "/Δ/🗿é", "/Δ/Ωé"];
    let scene = Scene::with(entries, &files.map(|file| (file, "1")));
    files.iter().for_each(|file| scene.write(file, "22"));
    assert_eq!(scene.told(), ["Modified /données/檔案/a Content,Size", "Modified /Δ/αé Content,Size"]);
}

#[test]
fn a_name_with_control_characters_cannot_write_to_a_terminal() {
    let scene = Scene::new(srv());
    let hostile = "/srv/\u{1b}]0;owned\u{7}\n\u{202e}unknown: all is well\r";
    scene.mkdir(hostile);
    scene.chmod(hostile, 0);
    scene.chown(hostile, crate::scene::NOBODY, 0);
    let seen = scene.scan_without_rights();
    assert_eq!(seen.unknown().len(), 1, "{}", seen.err);
    let is_harmless = |text: &str| text.chars().all(|character| character == '\n' || !character.is_control());
    assert!(is_harmless(&seen.err), "{:?}", seen.err);
    scene.remove(hostile);
    let removed = scene.scan();
    let line = removed.only(&format!("Removed {hostile}")).to_string();
    assert!(removed.lines.len() == 1 && line.contains("owned"), "{line}");
}
