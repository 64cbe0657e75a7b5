//! Holds the language of the repository: citations, the first words of doc comments, and the glossary.
//!
//! Reads every `.rs` and `.md` file as text. Each test fails with a list of files, lines and what to write instead.
//! Does not judge code, strings or generated files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The description of kube-proxy's behaviour that comments and pages cite as `spec` and by the number of a quirk.
const PAGE: &str = "docs/kube-proxy-ipvs.md";

/// The first words of a doc comment that leave open what the sentence is about.
const DANGLING: [&str; 10] =
    ["Of", "Whose", "Which", "What", "Whether", "So", "How", "Those", "As", "If"];

/// The heads of module docs that plain verbs have replaced.
const HEADS: [&str; 3] = ["In: ", "Out: ", "Never: "];

/// Words that the glossary of `CONTRIBUTING.md` replaces, each with the term that it gives instead.
const REPLACED: [(&str, &str); 20] = [
    ("the wish", "desired state"),
    ("a wish", "desired state"),
    ("wished", "desired state"),
    ("belief", "kernel cache"),
    ("believed", "kernel cache"),
    ("the deed", "apply"),
    ("the door", "convert"),
    ("a door", "convert"),
    ("doors", "convert"),
    ("claimant", "owner"),
    ("claimants", "owner"),
    ("contested", "conflict"),
    ("leftover", "legacy rules"),
    ("leftovers", "legacy rules"),
    ("traces of", "legacy rules"),
    ("patience", "timeout"),
    ("complaint", "warning"),
    ("complaints", "warning"),
    ("remark", "warning"),
    ("remarks", "warning"),
];

/// Words for an actor that has a name: the kernel, this proxy, another program, the API server, the operator.
const UNNAMED: [&str; 7] =
    ["somebody", "somebody's", "nobody", "nobody's", "whoever", "another hand", "others' doing"];

/// Where words may stand that are refused elsewhere: this file, which lists them, and the glossary.
const EXEMPT: [&str; 2] = ["tests/it/words.rs", "CONTRIBUTING.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository: its path below the root and its text.
struct File {
    name: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        has_extension(Path::new(&self.name), "rs")
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// Every `.rs` and `.md` file, without build output and hidden folders.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut open = vec![root().to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.extend(is_source(&path).then_some(path));
            } else if has_extension(&path, "rs") || has_extension(&path, "md") {
                files.push(file(&path));
            }
        }
    }
    assert!(files.len() > 200, "only {} files found", files.len());
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn is_source(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name != "target" && !name.starts_with('.')
}

fn file(path: &Path) -> File {
    let name = path.strip_prefix(root()).expect("below the root").display().to_string();
    File { name, text: fs::read_to_string(path).expect("a readable file") }
}

/// Text whose line breaks are spaces, so that a phrase is found across them, and the lines that it came from.
#[derive(Default)]
struct Flowing {
    text: String,
    /// Where in `text` each line begins, and its number in the file.
    starts: Vec<(usize, usize)>,
}

impl Flowing {
    /// All lines, without the marks that make them comments.
    fn of_all(text: &str) -> Self {
        let mut flowing = Self::default();
        for (index, line) in text.lines().enumerate() {
            flowing.push(index + 1, comment(line).unwrap_or(line).trim());
        }
        flowing
    }

    /// The comments of Rust code; code between two comments parts them.
    fn of_comments(text: &str) -> Self {
        let mut flowing = Self::default();
        for (index, line) in text.lines().enumerate() {
            flowing.push(
                index + 1,
                comment(line).or_else(|| trailing(line)).unwrap_or("\n").trim_matches(' '),
            );
        }
        flowing
    }

    /// The module docs of Rust code.
    fn of_module_docs(text: &str) -> Self {
        let mut flowing = Self::default();
        for (index, line) in text.lines().enumerate() {
            if let Some(line) = line.trim_start().strip_prefix("//!") {
                flowing.push(index + 1, line.trim());
            }
        }
        flowing
    }

    fn push(&mut self, number: usize, line: &str) {
        self.starts.push((self.text.len(), number));
        self.text.push_str(line);
        self.text.push(' ');
    }

    fn line(&self, at: usize) -> usize {
        let after = self.starts.partition_point(|(start, _)| *start <= at);
        self.starts.get(after.saturating_sub(1)).map_or(0, |(_, number)| *number)
    }

    /// Where the phrase stands as whole words and not as code in backticks, whatever the case of its letters.
    fn find(&self, phrase: &str) -> Vec<usize> {
        let text = self.text.to_ascii_lowercase();
        let whole = |at: usize| {
            let before = text[..at].chars().next_back();
            let after = text[at + phrase.len()..].chars().next();
            !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
        };
        text.match_indices(phrase).map(|(at, _)| at).filter(|at| whole(*at)).collect()
    }
}

/// True for a character beside which a phrase is a part of a longer word, or code.
fn goes_on(character: char) -> bool {
    is_of_word(character) || character == '`'
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.strip_prefix(['/', '!']).unwrap_or(text))
}

/// The text of a comment behind code; a string may have slashes too.
fn trailing(line: &str) -> Option<&str> {
    let (code, text) = line.split_once(" // ")?;
    (code.matches('"').count() % 2 == 0).then_some(text)
}

/// The numbers of sections and quirks that text cites, each with its place in the text.
fn citations(flowing: &Flowing) -> Vec<(usize, String)> {
    let text = &flowing.text;
    let alone = |at: usize| !text[..at].chars().next_back().is_some_and(is_of_word);
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("spec ").filter(|(at, _)| alone(*at)) {
        found.extend(sections(&text[at + mark.len()..]).into_iter().map(|number| (at, number)));
    }
    for (at, _) in text.match_indices("Q-").filter(|(at, _)| alone(*at)) {
        let number = digits(&text[at + 2..]);
        found.extend((!number.is_empty()).then(|| (at, format!("Q-{number}"))));
    }
    found.sort_by_key(|(at, _)| *at);
    found
}

/// The numbers with which text begins: `3.7, 3.8, 14.2 and Q-52` has three.
fn sections(text: &str) -> Vec<String> {
    let (mut numbers, mut rest) = (Vec::new(), text);
    loop {
        let number = section(rest);
        // A bare number in a list may count something; only the first one is a chapter for certain.
        if number.is_empty() || !numbers.is_empty() && !number.contains('.') {
            return numbers;
        }
        rest = &rest[number.len()..];
        numbers.push(number.to_owned());
        let next = [", and ", ", ", " and ", "–"].iter().find_map(|mark| rest.strip_prefix(*mark));
        let Some(next) = next else { return numbers };
        rest = next.strip_prefix("spec ").unwrap_or(next);
    }
}

/// The number `N` or `N.M` with which text begins, or nothing.
fn section(text: &str) -> &str {
    let chapter = digits(text).len();
    let part = text[chapter..].strip_prefix('.').map_or(0, |part| digits(part).len());
    if chapter == 0 || part == 0 { &text[..chapter] } else { &text[..chapter + 1 + part] }
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

/// The numbers that headings and rows of the page define; twice the same is a fault of the page.
fn defined(page: &str) -> BTreeSet<String> {
    let mut defined = BTreeSet::new();
    for line in page.lines() {
        let heading =
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'));
        let heading = heading.map(section).filter(|number| !number.is_empty()).map(str::to_owned);
        let row = line.strip_prefix("| Q-").map(|row| format!("Q-{}", digits(row)));
        for number in heading.into_iter().chain(row) {
            assert!(defined.insert(number.clone()), "{PAGE} defines {number} twice");
        }
    }
    defined
}

/// The doc comments of public items that begin with a dangling word: line and word.
fn dangling(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    // The indentation of the public enumeration or trait in which the line is.
    let mut within: Option<usize> = None;
    for (index, line) in lines.iter().enumerate() {
        let (indent, code) = (line.len() - line.trim_start().len(), line.trim_start());
        if within == Some(indent) && code.starts_with('}') {
            within = None;
        }
        if is_public(code) && is_open(code) && within.is_none() {
            within = Some(indent);
        }
        let Some(doc) = code.strip_prefix("///") else { continue };
        let begins = index == 0 || !lines[index - 1].trim_start().starts_with("///");
        let word = doc.split_whitespace().next().unwrap_or_default();
        let word = word.trim_end_matches([',', ':', '.', ';']);
        if begins
            && DANGLING.contains(&word)
            && (within.is_some() || item(&lines[index..]).is_some_and(is_public))
        {
            found.push((index + 1, word));
        }
    }
    found
}

fn is_public(code: &str) -> bool {
    code.starts_with("pub ") || code.starts_with("pub(")
}

/// True for the first line of an enumeration or trait, whose members have no `pub` of their own.
fn is_open(code: &str) -> bool {
    let mut words = code.split_whitespace();
    words.any(|word| word == "enum" || word == "trait") && code.ends_with('{')
}

/// The first line of the item below a doc comment, past its attributes.
fn item<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let mut depth = 0;
    for line in lines {
        let code = line.trim_start();
        let is_attribute = depth > 0 || code.starts_with("#[");
        if is_attribute {
            depth += code.matches('[').count();
            depth = depth.saturating_sub(code.matches(']').count());
        } else if !code.starts_with("//") {
            return Some(code);
        }
    }
    None
}

/// The words that are refused in text: line, word, and what to write instead.
fn refused(flowing: &Flowing) -> Vec<(usize, &'static str, &'static str)> {
    let unnamed = UNNAMED.iter().map(|word| (*word, "the actor by its name"));
    let words = REPLACED.into_iter().chain(unnamed);
    let places = |(word, instead)| {
        flowing.find(word).into_iter().map(move |at| (flowing.line(at), word, instead))
    };
    let mut found: Vec<_> = words.flat_map(places).collect();
    found.sort_unstable();
    found
}

/// The old heads in module docs: line and head.
fn heads(text: &str) -> Vec<(usize, &'static str)> {
    let flowing = Flowing::of_module_docs(text);
    let begins = |at: usize| {
        let before = flowing.text[..at].trim_end();
        before.is_empty() || before.ends_with(['.', ':', '`', ')'])
    };
    let places = |head: &'static str| {
        let places = flowing.text.match_indices(head).filter(|(at, _)| begins(*at));
        places.map(|(at, _)| (flowing.line(at), head.trim_end())).collect::<Vec<_>>()
    };
    HEADS.into_iter().flat_map(places).collect()
}

/// The rows of the glossary: term, and the words that are not used instead.
fn glossary(contributing: &str) -> Vec<(String, String)> {
    let (_, section) = contributing.split_once("\n## Glossary\n").expect("a glossary");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>()).skip(2);
    cells
        .map(|cells| {
            let [term, meaning, instead] = cells[..] else { panic!("three columns: {cells:?}") };
            assert!(meaning.ends_with('.'), "{term}: a sentence ends with a full stop");
            (term.to_lowercase(), instead.to_lowercase())
        })
        .collect()
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "{} places\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_citation_leads_to_a_section_or_a_quirk() {
    let files = files();
    let page = files.iter().find(|file| file.name == PAGE).expect("the page that is cited");
    let defined = defined(&page.text);
    let mut found = Vec::new();
    let mut cited = 0;
    for file in files.iter().filter(|file| file.name != EXEMPT[0]) {
        let flowing = Flowing::of_all(&file.text);
        for (at, number) in citations(&flowing) {
            cited += 1;
            if !defined.contains(&number) {
                found.push(format!("{}:{}: {PAGE} has no {number}", file.name, flowing.line(at)));
            }
        }
    }
    assert!(cited > 90, "only {cited} citations found");
    none(&found);
}

#[test]
fn the_page_refers_to_sections_that_it_has() {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page that is cited");
    let (defined, flowing) = (defined(&page), Flowing::of_all(&page));
    let signs: Vec<_> = flowing.text.match_indices('§').collect();
    assert!(signs.len() > 40, "only {} references found", signs.len());
    let missing = signs.into_iter().filter_map(|(at, sign)| {
        let number = section(&flowing.text[at + sign.len()..]);
        let line = flowing.line(at);
        (!defined.contains(number)).then(|| format!("{PAGE}:{line}: no section {number:?}"))
    });
    none(&missing.collect::<Vec<_>>());
}

#[test]
fn doc_comments_of_public_items_begin_with_what_they_are_about() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.is_rust() && file.name != EXEMPT[0]) {
        for (line, word) in dangling(&file.text) {
            found.push(format!("{}:{line}: begins with {word:?}", file.name));
        }
    }
    none(&found);
}

#[test]
fn comments_and_pages_use_the_words_of_the_glossary() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| !EXEMPT.contains(&file.name.as_str())) {
        let read = if file.is_rust() { Flowing::of_comments } else { Flowing::of_all };
        for (line, word, instead) in refused(&read(&file.text)) {
            found.push(format!("{}:{line}: {word:?}, say {instead}", file.name));
        }
    }
    none(&found);
}

#[test]
fn module_docs_have_no_heads() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.is_rust() && file.name != EXEMPT[0]) {
        for (line, head) in heads(&file.text) {
            found.push(format!("{}:{line}: {head:?}, say with verbs what it does", file.name));
        }
    }
    none(&found);
}

#[test]
fn the_glossary_is_short_and_has_each_word_that_is_replaced() {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let glossary = glossary(&contributing);
    assert!((20..=40).contains(&glossary.len()), "{} terms", glossary.len());
    for (word, term) in REPLACED {
        let row = glossary.iter().find(|(listed, _)| listed.split(", ").any(|one| one == term));
        let (_, instead) = row.unwrap_or_else(|| panic!("the glossary lacks {term:?}"));
        let singular = word.strip_suffix('s').unwrap_or(word);
        let bare = singular.trim_start_matches("the ").trim_start_matches("a ");
        assert!(instead.contains(bare), "{term:?} does not replace {word:?}: {instead}");
    }
}

#[test]
fn citations_are_found_in_lists_and_across_lines() {
    let cited = |text: &str| -> Vec<String> {
        citations(&Flowing::of_all(text)).into_iter().map(|(_, number)| number).collect()
    };
    assert_eq!(cited("//! Sources: spec 3.7, 3.8, 14.2 and Q-52."), ["3.7", "3.8", "14.2", "Q-52"]);
    assert_eq!(cited("/// … (spec\n    /// 6.1), Q-9, Q-45"), ["6.1", "Q-9", "Q-45"]);
    assert_eq!(cited("spec 4.3–4.7; spec 15, Q-43"), ["4.3", "4.7", "15", "Q-43"]);
    assert_eq!(cited("spec 5 and 6.3."), ["5", "6.3"]);
    assert_eq!(cited("spec 10.1, 200 times"), ["10.1"]);
    assert_eq!(cited("fn spec(key: 3), inspec 4, FAQ-3, Q-x"), Vec::<String>::new());
    let flowing = Flowing::of_all("one\ntwo spec 9.9\n");
    assert_eq!(
        citations(&flowing).iter().map(|(at, _)| flowing.line(*at)).collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn sections_are_defined_by_headings_and_quirks_by_rows() {
    let page = "# The page\n## 1. One\n### 1.10 Ten\ntext 2.1\n| Q-7 | a row |\n#### nat/X\nQ-8\n";
    assert_eq!(defined(page).into_iter().collect::<Vec<_>>(), ["1", "1.10", "Q-7"]);
}

#[test]
fn dangling_words_are_found_at_public_items_and_their_members() {
    let text = "\
/// Of a thing: another one.
#[derive(
    Debug,
)]
pub struct A {
    /// Which it has.
    pub field: u8,
    /// Which is its own affair.
    private: u8,
}

/// Things.
pub enum B {
    /// What is first.
    One,
    /// The second.
    /// What follows is not the beginning.
    Two {
        /// Whether it is set.
        set: bool,
    },
}

/// Whether so.
fn private() {}

/// If there is any, `Some`.
pub(super) fn some() {}

/// Asks. Ofttimes.
pub fn asks() {}

/// Acts.
pub trait C {
    /// How it acts.
    fn act(&self);
}

enum Hidden {
    /// What is hidden.
    One,
}
";
    let found = [(1, "Of"), (6, "Which"), (14, "What"), (19, "Whether"), (27, "If"), (35, "How")];
    assert_eq!(dangling(text), found);
}

#[test]
fn refused_words_are_found_in_comments_alone_and_as_whole_words() {
    let text = "\
//! Compares with THE WISH.
/// What is
/// believed, and the
let wish = \"// the wish, nobody\"; // nobody's
let url = \"http://host // whoever\";
// the
// wish; unremarkable, the doorway, believes
";
    let found = [
        (1, "the wish", "desired state"),
        (3, "believed", "kernel cache"),
        (4, "nobody's", "the actor by its name"),
        (6, "the wish", "desired state"),
    ];
    let all = refused(&Flowing::of_comments(text));
    let all: Vec<_> = all.into_iter().filter(|(_, word, _)| *word != "nobody").collect();
    assert_eq!(all, found);
    assert_eq!(refused(&Flowing::of_all("| the deed |")), [(1, "the deed", "apply")]);
    assert_eq!(refused(&Flowing::of_all("the user `nobody`, by `wished`")), []);
}

#[test]
fn heads_are_found_in_module_docs_where_they_begin_a_sentence() {
    let text = "\
//! Reads.
//!
//! In: bytes. Out: values.
//! Never: a panic.
/// In: not here.
fn f() {}
";
    assert_eq!(heads(text), [(3, "In:"), (3, "Out:"), (4, "Never:")]);
    assert_eq!(heads("//! Written In: a place, Built: never: twice.\n"), []);
}
