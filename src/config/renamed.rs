//! Fields that are written under a former name.

use serde_json::Value;

use super::mistakes::Mistakes;
use super::schema::{self, Kind};
use super::steps::{self, Step, with};

/// Moves what is written under a former name to the present one, so that everything after this needs to
/// know only that.
pub(super) fn rename(schema: &Value, value: &mut Value, steps: &[Step], mistakes: &mut Mistakes) {
    match (schema::kind(schema), value) {
        (Kind::Object(fields), Value::Object(values)) => {
            for (name, field) in fields {
                let step = |name: &str| with(steps, Step::Field(name.to_owned()));
                let former = field.get("x-formerly").and_then(Value::as_str);
                if let Some(former) = former.filter(|former| values.contains_key(*former)) {
                    if values.contains_key(name) {
                        let text =
                            format_args!("is the former name of `{name}`, which is there too");
                        mistakes.add(steps::path(&step(former)), text);
                    }
                    let moved = values.remove(former).unwrap_or_default();
                    values.entry(name.clone()).or_insert(moved);
                }
                if let Some(value) = values.get_mut(name) {
                    rename(field, value, &step(name), mistakes);
                }
            }
        }
        (Kind::Objects(items), Value::Array(values)) => {
            for (index, value) in values.iter_mut().enumerate() {
                rename(items, value, &with(steps, Step::Item(index)), mistakes);
            }
        }
        (Kind::Object(_) | Kind::Objects(_) | Kind::Leaf, _) => {}
    }
}
