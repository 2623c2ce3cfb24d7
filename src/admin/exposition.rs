//! `/metrics`: the text that Prometheus reads.

mod actors;
mod calls;
mod family;
mod process;
mod topics;
mod tunnels;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use super::Facts;

/// Prometheus' own text format.
const TEXT: HeaderValue = HeaderValue::from_static(prometheus::TEXT_FORMAT);

pub(super) async fn show(State(facts): State<Facts>) -> Response {
    match TextEncoder::new().encode_to_string(&families(&facts)) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            log::error!("metrics could not be written: cause={error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Every metric that has a series now.
fn families(facts: &Facts) -> Vec<MetricFamily> {
    let window = &facts.window;
    let mut families = Vec::new();
    families.extend(calls::families(&window.calls));
    families.extend(tunnels::families(&window.tunnels));
    families.extend(topics::families(&window.topics));
    families.extend(actors::families(&window.cast));
    families.extend(process::families(facts));
    families.into_iter().flatten().collect()
}
