//! Finds the patterns that mean a name, without looking at those that do not begin like it.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{TopicName, TopicPattern};

/// Patterns by their words, each with something of type `V`.
#[derive(Debug)]
pub struct TopicTree<V> {
    nodes: Vec<Node<V>>,
    /// Places of nodes that are in use no more.
    free: Vec<usize>,
    patterns: usize,
}

/// What follows the words that lead here.
#[derive(Debug)]
struct Node<V> {
    parent: usize,
    words: FxHashMap<Box<str>, usize>,
    /// Of the pattern that ends here.
    value: Option<V>,
}

const ROOT: usize = 0;

impl<V> Default for TopicTree<V> {
    fn default() -> Self {
        Self { nodes: vec![Node::new(ROOT)], free: Vec::new(), patterns: 0 }
    }
}

impl<V> Node<V> {
    fn new(parent: usize) -> Self {
        Self { parent, words: FxHashMap::default(), value: None }
    }
}

impl<V> TopicTree<V> {
    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.patterns == 0
    }

    /// Adds a pattern, or gives one that is there something else; returns what it had.
    pub fn insert(&mut self, pattern: &TopicPattern, value: V) -> Option<V> {
        let place = self.reserve(pattern);
        let before = self.nodes[place].value.replace(value);
        self.patterns += usize::from(before.is_none());
        before
    }

    /// What a pattern has, to be changed; `new` if it is not there yet.
    pub fn get_or_insert_with(
        &mut self,
        pattern: &TopicPattern,
        new: impl FnOnce() -> V,
    ) -> &mut V {
        let place = self.reserve(pattern);
        let value = &mut self.nodes[place].value;
        self.patterns += usize::from(value.is_none());
        value.get_or_insert_with(new)
    }

    /// What a pattern has.
    pub fn get(&self, pattern: &TopicPattern) -> Option<&V> {
        self.nodes[self.find(pattern)?].value.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, pattern: &TopicPattern) -> Option<&mut V> {
        let place = self.find(pattern)?;
        self.nodes[place].value.as_mut()
    }

    /// Takes a pattern out; returns what it had.
    pub fn remove(&mut self, pattern: &TopicPattern) -> Option<V> {
        let mut place = self.find(pattern)?;
        let value = self.nodes[place].value.take()?;
        self.patterns -= 1;
        let words: Vec<_> = pattern.words().collect();
        for word in words.into_iter().rev() {
            let node = &self.nodes[place];
            if node.value.is_some() || !node.words.is_empty() {
                break;
            }
            let parent = node.parent;
            self.nodes[parent].words.remove(word);
            self.free.push(place);
            place = parent;
        }
        Some(value)
    }

    /// What the patterns have that mean the name, each once, in no order.
    pub fn matches(&self, name: &TopicName) -> Vec<&V> {
        let mut reached = Reached::default();
        self.reach(ROOT, &mut reached);
        for word in name.words() {
            let mut next = Reached::default();
            for place in reached.places {
                let node = &self.nodes[place];
                for key in [word, "*"] {
                    if let Some(child) = node.words.get(key) {
                        self.reach(*child, &mut next);
                    }
                }
                // A `#` that was reached takes one more word.
                if reached.many.contains(&place) {
                    self.reach_many(place, &mut next);
                }
            }
            reached = next;
        }
        reached.places.iter().filter_map(|place| self.nodes[*place].value.as_ref()).collect()
    }

    /// Comes to a node, and past each `#` that follows it, which may stand for no word.
    fn reach(&self, place: usize, reached: &mut Reached) {
        if !reached.seen.insert(place) {
            return;
        }
        reached.places.push(place);
        if let Some(many) = self.nodes[place].words.get("#") {
            self.reach_many(*many, reached);
        }
    }

    fn reach_many(&self, place: usize, reached: &mut Reached) {
        reached.many.insert(place);
        self.reach(place, reached);
    }

    fn find(&self, pattern: &TopicPattern) -> Option<usize> {
        let mut place = ROOT;
        for word in pattern.words() {
            place = *self.nodes[place].words.get(word)?;
        }
        Some(place)
    }

    /// The node of a pattern that will have something.
    fn reserve(&mut self, pattern: &TopicPattern) -> usize {
        let mut place = ROOT;
        for word in pattern.words() {
            place = match self.nodes[place].words.get(word) {
                Some(next) => *next,
                None => self.grow(place, word),
            };
        }
        place
    }

    fn grow(&mut self, parent: usize, word: &str) -> usize {
        let node = Node::new(parent);
        let place = if let Some(place) = self.free.pop() {
            self.nodes[place] = node;
            place
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        self.nodes[parent].words.insert(word.into(), place);
        place
    }
}

/// The nodes that the words so far lead to.
#[derive(Default)]
struct Reached {
    places: Vec<usize>,
    seen: FxHashSet<usize>,
    /// Those of them that are a `#`.
    many: FxHashSet<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut tree = TopicTree::default();
        for text in ["a.b.c", "a.b", "a.#", "#", "a.b.*"] {
            assert_eq!(tree.insert(&pattern(text), text), None);
        }
        assert_eq!(tree.insert(&pattern("a.b"), "again"), Some("a.b"));
        assert_eq!(tree.len(), 5);
        assert_eq!(tree.remove(&pattern("x")), None);
        assert_eq!(tree.remove(&pattern("a")), None);
        for text in ["a.b.c", "a.#", "#", "a.b.*", "a.b"] {
            assert!(tree.remove(&pattern(text)).is_some(), "{text}");
        }
        assert!(tree.is_empty() && tree.nodes[ROOT].words.is_empty());
        assert_eq!(tree.free.len(), tree.nodes.len() - 1);
        tree.insert(&pattern("x.y"), "new");
        assert_eq!(tree.matches(&name("x.y")), [&"new"]);
    }

    #[test]
    fn only_what_begins_like_the_name_is_looked_at() {
        let mut tree = TopicTree::default();
        for n in 0..10_000 {
            tree.insert(&pattern(&format!("site{n}.*.#")), n);
        }
        assert_eq!(tree.matches(&name("site77.a.b.c")), [&77]);
    }

    #[test]
    fn many_hashes_do_not_multiply() {
        let mut tree = TopicTree::default();
        let many = ["#"; 100].join(".");
        tree.insert(&pattern(&many), ());
        assert_eq!(tree.matches(&name(&["a"; 100].join("."))).len(), 1);
    }

    proptest! {
        /// The tree after any changes finds exactly what a slow reading of `RabbitMQ`'s rules does.
        #[test]
        fn it_finds_what_the_slow_matcher_finds(
            changes in prop::collection::vec((any::<bool>(), words(true)), 0..60),
            names in prop::collection::vec(words(false), 1..20),
        ) {
            let (mut tree, mut model) = (TopicTree::default(), BTreeMap::new());
            for (number, (adds, text)) in changes.into_iter().enumerate() {
                if adds {
                    prop_assert_eq!(tree.insert(&pattern(&text), number), model.insert(text, number));
                } else {
                    prop_assert_eq!(tree.remove(&pattern(&text)), model.remove(&text));
                }
                prop_assert_eq!(tree.len(), model.len());
            }
            for text in names {
                let mut found: Vec<_> = tree.matches(&name(&text)).into_iter().copied().collect();
                found.sort_unstable();
                let meant = model.iter().filter(|(pattern, _)| {
                    slow(&pattern.split('.').collect::<Vec<_>>(), &text.split('.').collect::<Vec<_>>())
                });
                let mut expected: Vec<_> = meant.map(|(_, number)| *number).collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }

        /// A pattern by itself means the same as in a tree.
        #[test]
        fn a_pattern_alone_means_what_the_slow_matcher_means(one in words(true), text in words(false)) {
            let expected =
                slow(&one.split('.').collect::<Vec<_>>(), &text.split('.').collect::<Vec<_>>());
            prop_assert_eq!(pattern(&one).matches(&name(&text)), expected);
        }

        /// What is covered means nothing that the other does not mean.
        #[test]
        fn what_is_covered_means_no_more(one in words(true), other in words(true), text in words(false)) {
            if pattern(&one).covers(&pattern(&other)) && pattern(&other).matches(&name(&text)) {
                prop_assert!(pattern(&one).matches(&name(&text)));
            }
        }
    }

    /// `RabbitMQ`'s meaning, one word after the other, every way tried.
    fn slow(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((&"#", rest)), _) => (0..=name.len()).any(|taken| slow(rest, &name[taken..])),
            (Some(_), None) => false,
            (Some((word, rest)), Some((first, others))) => {
                (*word == "*" || word == first) && slow(rest, others)
            }
        }
    }

    fn words(wild: bool) -> impl Strategy<Value = String> {
        let word = if wild {
            prop_oneof![Just("a"), Just("b"), Just("c"), Just("*"), Just("#")].boxed()
        } else {
            prop_oneof![Just("a"), Just("b"), Just("c")].boxed()
        };
        prop::collection::vec(word, 1..6).prop_map(|words| words.join("."))
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 1_000).unwrap()
    }

    fn name(text: &str) -> TopicName {
        TopicName::parse(text, 1_000).unwrap()
    }
}
