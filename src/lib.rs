//! Adit: a gateway for gRPC services that cannot be dialled.

pub mod tunnel;
