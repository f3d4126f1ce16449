#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn name_matches(pattern: &str, name: impl AsRef<[u8]>) -> bool {
    NamePattern::parse(pattern).unwrap().matches(name.as_ref())
}

fn path_matches(pattern: &PathPattern, path: &[&[u8]]) -> bool {
    let end = path.iter().fold(pattern.start(), |cursor, name| cursor.step(pattern, name));
    end.is_match(pattern)
}

fn matches(pattern: &str, path: &str) -> bool {
    let components: Vec<_> = path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
    path_matches(&PathPattern::parse(pattern).unwrap(), &components)
}

#[test]
fn a_star_stays_in_its_segment_and_a_literal_dot_is_a_dot() {
    assert!(matches("/etc/*.conf", "/etc/host.conf"));
    assert!(matches("/etc/*.conf", "/etc/.conf"));
    assert!(!matches("/etc/*.conf", "/etc/hostXconf"));
    assert!(!matches("/etc/*.conf", "/etc/ldap/ldap.conf"));
}

#[test]
fn two_stars_match_any_number_of_segments_none_included() {
    for path in ["/etc/a.conf", "/etc/x/a.conf", "/etc/x/y/a.conf"] {
        assert!(matches("/etc/**/*.conf", path), "{path}");
    }
    assert!(matches("/etc/**", "/etc"));
    assert!(matches("/**", "/"));
    assert!(!matches("/etc/**", "/etcetera"));
}

#[test]
fn the_root_is_a_pattern_without_segments() {
    assert!(matches("/", "/"));
    assert!(!matches("/", "/etc"));
    assert!(PathPattern::parse("/").unwrap().segments().is_empty());
}

#[test]
fn a_leading_dot_is_no_exception() {
    assert!(name_matches("*", ".hidden"));
    assert!(name_matches("?hidden", ".hidden"));
    assert!(name_matches("[.]hidden", ".hidden"));
}

#[test]
fn classes_hold_ranges_and_their_opposites() {
    assert!(name_matches("*.sw[op]", "a.swp"));
    assert!(!name_matches("*.sw[op]", "a.swx"));
    assert!(name_matches("cron.[a-z]*", "cron.daily"));
    assert!(name_matches("[!a]", "b"));
    assert!(name_matches("[^a]", "b"));
    assert!(!name_matches("[!a]", "a"));
    assert!(name_matches("[]-]", "]"));
    assert!(name_matches("[]-]", "-"));
    assert!(name_matches("x[!]]", "xy"));
}

#[test]
fn alternatives_may_hold_wildcards() {
    assert!(name_matches("{passwd,shadow}", "shadow"));
    assert!(name_matches("{*.conf,h?sts,[ab]}x", "a.confx"));
    assert!(name_matches("{*.conf,h?sts,[ab]}x", "bx"));
    assert!(!name_matches("{*.conf,h?sts,[ab]}x", "cx"));
    assert!(name_matches("a{,b}", "a"));
    assert!(name_matches("{a[}]b}", "a}b"));
}

#[test]
fn an_escaped_character_is_itself_and_a_lone_closing_one_too() {
    assert_eq!(NamePattern::parse("[[]a[{]b[$]c]}").unwrap().as_literal(), Some(&b"[a{b$c]}"[..]));
    assert_eq!(PathPattern::parse("/a[*]/*").unwrap().segments()[0], Segment::Literal(b"a*"[..].into()));
}

#[test]
fn a_question_mark_is_one_character_or_one_byte_that_is_none() {
    assert!(name_matches("?", "é"));
    assert!(name_matches("?", "檔"));
    assert!(name_matches("?", b"\xff"));
    assert!(name_matches("??", b"\xe6\xaa"));
    assert!(!name_matches("??", "é"));
    assert!(name_matches("[!a]", b"\xff"));
    assert!(!name_matches("[a-z]", b"\xff"));
    assert!(name_matches("[α-ω]*", "δείγμα"));
}

#[test]
fn case_matters() {
    assert!(!name_matches("*.CONF", "a.conf"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    use PatternError::*;
    for (text, error) in [
        ("", Empty),
        ("etc", Relative),
        ("/etc/", DotsOrEmptySegment),
        ("/etc//a", DotsOrEmptySegment),
        ("/etc/../a", DotsOrEmptySegment),
        ("/etc/[.].", DotsOrEmptySegment),
        ("/etc/**a", AnyDepthBesideOthers),
        ("/etc/{**,a}", AnyDepthBesideOthers),
        ("/etc/[a", UnclosedClass),
        ("/etc/[]", UnclosedClass),
        ("/etc/[!]", UnclosedClass),
        ("/etc/{a[}]b", UnclosedOrNestedBraces),
        ("/etc/{a,{b,c}}", UnclosedOrNestedBraces),
        ("/etc/[z-a]", EmptyRange { from: 'z', to: 'a' }),
        ("/etc/a\0", Nul),
    ] {
        assert_eq!(PathPattern::parse(text), Err(error), "{text}");
    }
    assert_eq!(NamePattern::parse("a/b"), Err(SlashInName));
    assert_eq!(NamePattern::parse("**"), Err(AnyDepthBesideOthers));
    assert_eq!(PathPattern::parse(&"/*".repeat(128)), Err(TooManySegments));
    assert!(PathPattern::parse(&"/*".repeat(127)).is_ok());
    assert!(PathPattern::parse(&"/a".repeat(512)).is_ok());
}

#[test]
fn a_descent_needs_no_listing_while_only_literals_can_go_on() {
    let pattern = PathPattern::parse("/etc/ssh/*.d/**/conf").unwrap();
    let start = pattern.start();
    assert_eq!(start.next_literals(&pattern), Some(vec![&b"etc"[..]]));
    let ssh = start.step(&pattern, b"etc").step(&pattern, b"ssh");
    assert_eq!(ssh.next_literals(&pattern), None);
    let dead = start.step(&pattern, b"usr");
    assert!(dead.is_dead());
    assert_eq!(dead.next_literals(&pattern), Some(vec![]));
    let below = PathPattern::parse("/home/*/.ssh").unwrap();
    let user = below.start().step(&below, b"home").step(&below, b"ann");
    assert_eq!(user.next_literals(&below), Some(vec![&b".ssh"[..]]));
    let whole = user.step(&below, b".ssh");
    assert!(whole.is_match(&below) && whole.is_dead());
}

#[test]
fn a_resolved_prefix_takes_the_place_of_the_written_one() {
    let pattern = PathPattern::parse("/bin/*").unwrap();
    assert_eq!(pattern.literal_prefix(), 1);
    let real = pattern.with_prefix(&["usr", "bin"]);
    assert_eq!(real.literal_prefix(), 2);
    assert!(path_matches(&real, &[b"usr", b"bin", b"ls"]));
    assert!(!path_matches(&real, &[b"bin", b"ls"]));
    let long = pattern.with_prefix(&vec!["d"; 1000]);
    let mut path = vec![&b"d"[..]; 1000];
    path.push(b"x");
    assert!(path_matches(&long, &path));
    assert!(path_matches(&PathPattern::parse("/bin").unwrap().with_prefix(&[""; 0]), &[]));
}

#[test]
fn a_hostile_name_costs_pattern_times_name() {
    let name = "a".repeat(255);
    let stars = "*a".repeat(120) + "b*c";
    assert!(!name_matches(&stars, &name));
    let branches = "{*a,*aa}".repeat(30) + "b";
    assert!(!name_matches(&branches, &name));
}

// The reference: the same grammar, matched by trying everything.

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Question,
    Star,
    Class(bool, Vec<(char, char)>),
    Braces(Vec<Vec<Piece>>),
}

fn render(pieces: &[Piece]) -> String {
    pieces.iter().map(render_piece).collect()
}

fn render_piece(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Question => "?".into(),
        Piece::Star => "*".into(),
        Piece::Class(negated, ranges) => {
            let members: String = ranges.iter().map(|(from, to)| format!("{from}-{to}")).collect();
            format!("[{}{members}]", if *negated { "!" } else { "" })
        }
        Piece::Braces(alternatives) => {
            format!("{{{}}}", alternatives.iter().map(|pieces| render(pieces)).collect::<Vec<_>>().join(","))
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Character {
    Scalar(char),
    Byte(u8),
}

fn characters(name: &[u8]) -> Vec<Character> {
    let mut all = Vec::new();
    for chunk in name.utf8_chunks() {
        all.extend(chunk.valid().chars().map(Character::Scalar));
        all.extend(chunk.invalid().iter().map(|byte| Character::Byte(*byte)));
    }
    all
}

/// All the places where a match of these pieces can end.
fn ends(pieces: &[Piece], name: &[Character], at: usize) -> Vec<usize> {
    let Some((first, rest)) = pieces.split_first() else {
        return vec![at];
    };
    let after: Vec<usize> = match first {
        Piece::Text(text) => {
            let expected: Vec<_> = text.chars().map(Character::Scalar).collect();
            name[at..].starts_with(&expected).then_some(at + expected.len()).into_iter().collect()
        }
        Piece::Question => (at < name.len()).then_some(at + 1).into_iter().collect(),
        Piece::Star => (at..=name.len()).collect(),
        Piece::Class(negated, ranges) => name
            .get(at)
            .filter(|found| {
                let member = ranges
                    .iter()
                    .any(|(from, to)| matches!(found, Character::Scalar(found) if from <= found && found <= to));
                member != *negated
            })
            .map(|_| at + 1)
            .into_iter()
            .collect(),
        Piece::Braces(alternatives) => {
            alternatives.iter().flat_map(|alternative| ends(alternative, name, at)).collect()
        }
    };
    let mut all: Vec<_> = after.into_iter().flat_map(|at| ends(rest, name, at)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn simple_piece() -> impl Strategy<Value = Piece> {
    let member = prop_oneof![Just(('a', 'a')), Just(('a', 'b')), Just(('b', 'é')), Just(('c', 'c'))];
    prop_oneof![
        3 => "[abcé]{1,2}".prop_map(Piece::Text),
        1 => Just(Piece::Question),
        1 => Just(Piece::Star),
        1 => (any::<bool>(), prop::collection::vec(member, 1..3)).prop_map(|(negated, ranges)| Piece::Class(negated, ranges)),
    ]
}

fn without_double_stars(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        if !matches!((all.last(), &piece), (Some(Piece::Star), Piece::Star)) {
            all.push(piece);
        }
    }
    all
}

fn name_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let alternative = prop::collection::vec(simple_piece(), 0..3).prop_map(without_double_stars);
    let braces = prop::collection::vec(alternative, 1..4).prop_map(Piece::Braces);
    prop::collection::vec(prop_oneof![5 => simple_piece(), 1 => braces], 1..6).prop_map(without_double_stars)
}

fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![
            4 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]),
            1 => Just("é".as_bytes().to_vec()),
            1 => prop::sample::select(vec![vec![0xc3], vec![0xa9], vec![0xff]]),
        ],
        0..7,
    )
    .prop_map(|parts| parts.concat())
}

fn reference_path(segments: &[Option<Vec<Piece>>], path: &[Vec<u8>]) -> bool {
    match segments.split_first() {
        None => path.is_empty(),
        Some((None, rest)) => (0..=path.len()).any(|taken| reference_path(rest, &path[taken..])),
        Some((Some(pieces), rest)) => path.split_first().is_some_and(|(name, below)| {
            let name = characters(name);
            ends(pieces, &name, 0).contains(&name.len()) && reference_path(rest, below)
        }),
    }
}

proptest! {
    #[test]
    fn names_match_as_the_reference_says(pieces in name_pieces(), name in name_bytes()) {
        let text = render(&pieces);
        let pattern = NamePattern::parse(&text).unwrap();
        let units = characters(&name);
        prop_assert_eq!(pattern.matches(&name), ends(&pieces, &units, 0).contains(&units.len()), "{}", text);
        if let Some(literal) = pattern.as_literal() {
            prop_assert_eq!(pattern.matches(&name), literal == name);
        }
    }

    #[test]
    fn paths_match_as_the_reference_says(
        segments in prop::collection::vec(prop::option::weighted(0.7, name_pieces()), 0..6),
        path in prop::collection::vec(name_bytes(), 0..6),
    ) {
        let text: String = segments
            .iter()
            .map(|segment| format!("/{}", segment.as_ref().map_or("**".into(), |pieces| render(pieces))))
            .collect();
        let pattern = PathPattern::parse(if text.is_empty() { "/" } else { &text }).unwrap();
        let names: Vec<_> = path.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(path_matches(&pattern, &names), reference_path(&segments, &path), "{}", text);
    }

    #[test]
    fn what_a_cursor_rules_out_never_matches(
        segments in prop::collection::vec(prop::option::weighted(0.7, name_pieces()), 0..5),
        path in prop::collection::vec(name_bytes(), 0..5),
    ) {
        let text: String = segments
            .iter()
            .map(|segment| format!("/{}", segment.as_ref().map_or("**".into(), |pieces| render(pieces))))
            .collect();
        let pattern = PathPattern::parse(if text.is_empty() { "/" } else { &text }).unwrap();
        let mut cursor = pattern.start();
        for name in &path {
            let below = cursor.step(&pattern, name);
            let alive = below.is_match(&pattern) || !below.is_dead();
            prop_assert!(!(cursor.is_dead() && alive));
            if let Some(names) = cursor.next_literals(&pattern) {
                prop_assert!(!alive || names.contains(&&**name));
            }
            cursor = below;
        }
    }

    #[test]
    fn no_text_and_no_name_make_it_panic(text in ".{0,40}|[/*?{},\\[\\]!^a.-]{0,40}", name in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(pattern) = NamePattern::parse(&text) {
            pattern.matches(&name);
        }
        if let Ok(pattern) = PathPattern::parse(&text) {
            let cursor = pattern.start().step(&pattern, &name).step(&pattern, &name);
            cursor.next_literals(&pattern);
            cursor.is_match(&pattern);
        }
    }
}
