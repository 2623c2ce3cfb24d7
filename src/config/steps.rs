//! The way to a value in the configuration: fields and items of lists.

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into the field of this name.
    Field(String),
    /// Into the item of this number, counted from 0.
    Item(usize),
}

/// The way as messages show it: `keys[1].sha256`.
pub(super) fn path(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Field(name) => field_path(&path, name),
        Step::Item(index) => format!("{path}[{index}]"),
    })
}

/// The path of a field of the value at `parent`.
pub(super) fn field_path(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// These steps and one more.
pub(super) fn with(steps: &[Step], step: Step) -> Vec<Step> {
    [steps, &[step]].concat()
}
