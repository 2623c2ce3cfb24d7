//! Environment variables that stand for fields: `ADIT_LIMITS_CALLS_MAX` is `limits.calls_max`.
//!
//! The names come from the schema, so that a new field has its variable. What a variable says is
//! laid over the file before the file is read: whatever is wrong with it is found the same way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::environment::Environment;
use super::keys::KEY_VARIABLE;
use super::mistakes::{Mistake, Mistakes};
use super::schema::{self, Kind};
use super::steps::{self, Step, with};
use super::suggest::closest;

/// All of the gateway's variables begin like this.
const PREFIX: &str = "ADIT";

/// Stands for the number of a list's item in the name of a variable.
pub(super) const ITEM: &str = "N";

/// Which variable set the value at which path.
pub(super) type Variables = BTreeMap<String, String>;

/// A variable that is set, and the field that it stands for.
struct Found<'s> {
    variable: String,
    steps: Vec<Step>,
    schema: &'s Value,
}

/// Lays what the variables say over the file.
pub(super) fn lay_over(
    file: &mut Value,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Variables {
    let mut found = Vec::new();
    find(schema::whole(), PREFIX, &[], environment, &mut found);
    let paths = found.iter().map(|one| (steps::path(&one.steps), one.variable.clone()));
    let variables: Variables = paths.collect();
    mistakes.come_from(variables.clone());
    for Found { variable, steps, schema } in found {
        let path = steps::path(&steps);
        let text = environment.value(&variable).unwrap_or_default();
        let value = mistakes.note(&path, value(schema, text));
        match place(file, &steps) {
            Ok(place) => *place = value.unwrap_or(Value::Null),
            Err(Misplaced::AfterTheEnd(length)) => {
                let text = format_args!("there is no such item; the next one has number {length}");
                mistakes.add(path, text);
            }
            // The file is wrong there, and will be told so.
            Err(Misplaced::NotInside) => {}
        }
    }
    variables
}

/// The variables with the prefix of the gateway that mean nothing to it. They are no mistakes:
/// wrappers and tests have some of their own.
pub(super) fn unknown(
    file: &Value,
    environment: &Environment,
    variables: &Variables,
) -> Vec<Mistake> {
    let mut warnings = Mistakes::default();
    let mut named = BTreeSet::from([KEY_VARIABLE]);
    named.extend(variables.values().map(String::as_str));
    texts(file, &mut named);
    let known = names();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for name in environment.names().filter(|name| is_ours(name) && !named.contains(name)) {
        match meant(name, &known) {
            Some(meant) => {
                warnings.add(name, format_args!("unknown variable; did you mean `{meant}`?"));
            }
            None => warnings.add(name, "unknown variable"),
        }
    }
    warnings.into_list()
}

/// The name of every variable, [`ITEM`] in place of each number.
pub(super) fn names() -> Vec<String> {
    fn collect(schema: &Value, variable: &str, names: &mut Vec<String>) {
        match schema::kind(schema) {
            Kind::Object(fields) => {
                for (name, field) in fields {
                    collect(field, &longer(variable, name), names);
                }
            }
            Kind::Objects(items) => collect(items, &longer(variable, ITEM), names),
            Kind::Leaf => names.push(variable.to_owned()),
        }
    }
    let mut names = Vec::new();
    collect(schema::whole(), PREFIX, &mut names);
    names
}

/// The variable of a field, or of a list's item, of what `variable` stands for.
pub(super) fn longer(variable: &str, name: &str) -> String {
    format!("{variable}_{}", name.to_ascii_uppercase())
}

/// The variables that are set, in the order of the schema and of the items.
fn find<'s>(
    schema: &'s Value,
    variable: &str,
    steps: &[Step],
    environment: &Environment,
    found: &mut Vec<Found<'s>>,
) {
    match schema::kind(schema) {
        Kind::Object(fields) => {
            for (name, field) in fields {
                let steps = with(steps, Step::Field(name.clone()));
                find(field, &longer(variable, name), &steps, environment, found);
            }
        }
        Kind::Objects(items) => {
            for index in indices(variable, environment) {
                let steps = with(steps, Step::Item(index));
                find(items, &longer(variable, &index.to_string()), &steps, environment, found);
            }
        }
        Kind::Leaf if environment.value(variable).is_some() => {
            found.push(Found { variable: variable.to_owned(), steps: steps.to_vec(), schema });
        }
        Kind::Leaf => {}
    }
}

/// The items of the list that variables are set for. A number with a zero in front is none.
fn indices(variable: &str, environment: &Environment) -> BTreeSet<usize> {
    let rests = environment.names().filter_map(|name| name.strip_prefix(variable));
    let numbers = rests.filter_map(|rest| rest.strip_prefix('_')?.split_once('_'));
    let numbers = numbers.filter_map(|(number, _)| {
        let index = number.parse::<usize>().ok()?;
        (index.to_string() == number).then_some(index)
    });
    numbers.collect()
}

/// Why there is no place for a value.
enum Misplaced {
    /// The list ends earlier; so many items are in it.
    AfterTheEnd(usize),
    /// What should have the field or the item is something else.
    NotInside,
}

/// The place of a value in the file. What is not there on the way to it is made.
fn place<'v>(file: &'v mut Value, steps: &[Step]) -> Result<&'v mut Value, Misplaced> {
    steps.iter().try_fold(file, |node, step| {
        if node.is_null() {
            *node = match step {
                Step::Field(_) => Value::Object(Map::new()),
                Step::Item(_) => Value::Array(Vec::new()),
            };
        }
        match (node, step) {
            (Value::Object(fields), Step::Field(name)) => {
                Ok(fields.entry(name.clone()).or_insert(Value::Null))
            }
            (Value::Array(items), Step::Item(index)) => {
                let length = items.len();
                if *index == length {
                    items.push(Value::Null);
                }
                items.get_mut(*index).ok_or(Misplaced::AfterTheEnd(length))
            }
            (_, Step::Field(_) | Step::Item(_)) => Err(Misplaced::NotInside),
        }
    })
}

/// What the text of a variable stands for.
fn value(schema: &Value, text: &str) -> Result<Value, &'static str> {
    if text.trim().is_empty() {
        return Err("is empty: give it a value or do not set it");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u64>().ok().filter(|_| digits);
            number.map(Value::from).ok_or("must be a whole number, like 64")
        }
        Some("boolean") => text.parse().map(Value::Bool).map_err(|_| "must be true or false"),
        Some("array") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let items = text.split(',').map(|item| match item.trim() {
                "" => Err("has an empty item: put one comma between items and none at the end"),
                item => value(items, item),
            });
            items.collect()
        }
        Some(_) | None => Ok(Value::from(text)),
    }
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('_'))
}

/// Every text in the file: some of them name variables.
fn texts<'v>(value: &'v Value, all: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => {
            all.insert(text);
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The known name that is closest, with the numbers of the written one.
fn meant(written: &str, known: &[&str]) -> Option<String> {
    let parts = written.split('_').map(|part| (part, part.parse::<usize>().ok()));
    let plain = parts.clone().map(|(part, number)| if number.is_some() { ITEM } else { part });
    let meant = closest(&plain.collect::<Vec<_>>().join("_"), known)?;
    let mut numbers = parts.filter_map(|(_, number)| number);
    let numbered = meant.split('_').map(|part| match part {
        ITEM => numbers.next().map_or(part.to_owned(), |number| number.to_string()),
        _ => part.to_owned(),
    });
    Some(numbered.collect::<Vec<_>>().join("_"))
}
