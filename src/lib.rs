//! Adit: a gateway for gRPC services that cannot be dialled.

pub mod actors;
pub mod admin;
pub mod app;
pub mod auth;
pub mod config;
pub mod grpc;
mod in_force;
pub mod observe;
pub mod reload;
pub mod tls;
pub mod tunnel;
