//! What was found: each kind once, with its first example, ready to be tried by hand.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// What all threads put their findings into.
#[derive(Default)]
pub(crate) struct Findings {
    kinds: Mutex<BTreeMap<String, (usize, String)>>,
    outcomes: Mutex<BTreeMap<String, usize>>,
}

impl Findings {
    /// Adds one of a kind. Only the first is kept, and printed at once.
    pub(crate) fn add(&self, sqlstate: &str, kind: &str, example: &str) {
        let kind = format!("{sqlstate} {}", without_particulars(kind));
        let mut all = self.kinds.lock().unwrap();
        let (times, _) = all.entry(kind.clone()).or_insert_with(|| {
            eprintln!("---- found: {kind}\n{example}");
            (0, example.to_owned())
        });
        *times += 1;
    }

    /// Counts what a call came to: a SQLSTATE, 00000 for a success.
    pub(crate) fn count(&self, sqlstate: &str) {
        *self.outcomes.lock().unwrap().entry(sqlstate.to_owned()).or_default() += 1;
    }

    /// How often what came back, for whoever wants to know whether anything was tried at all.
    pub(crate) fn outcomes(&self) -> (usize, String) {
        let outcomes = self.outcomes.lock().unwrap();
        let mut sorted: Vec<_> = outcomes.iter().collect();
        sorted.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let told: Vec<String> =
            sorted.iter().map(|(state, times)| format!("{state}: {times}")).collect();
        (outcomes.get("00000").copied().unwrap_or_default(), told.join(", "))
    }

    /// All of them; empty: none.
    pub(crate) fn told(&self) -> Vec<String> {
        let all = self.kinds.lock().unwrap();
        all.iter()
            .map(|(kind, (times, example))| format!("{times} times: {kind}\n{example}"))
            .collect()
    }
}

/// Without numbers and names in quotes, so that two of a kind look alike.
fn without_particulars(text: &str) -> String {
    let mut plain = String::new();
    for (place, part) in text.split('"').enumerate() {
        if place % 2 == 1 {
            plain.push_str("\"…\"");
            continue;
        }
        for c in part.chars() {
            match c.is_ascii_digit() {
                true if plain.ends_with('#') => {}
                true => plain.push('#'),
                false => plain.push(c),
            }
        }
    }
    plain
}
