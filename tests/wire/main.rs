//! The wire as transcripts: who sends, who receives, what is left.

mod calls_by_peers;
mod compression;
mod drain;
mod failures;
mod isolation;
mod limits;
mod liveness;
mod metadata;
mod protocol;
mod registration;
mod streams;
mod support;
mod unary;
