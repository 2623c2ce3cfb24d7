//! The generated part of the registry service: the old way in.

use tonic::{Request, Response, Status, Streaming};

use super::proto::registry_service_server::{RegistryService, RegistryServiceServer};
use super::proto::{ConnectionMessage, RegisterRequest, RegisterResponse};

/// A request that anybody may send has this many bytes at most; nothing in it is looked at.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The service as it is served.
pub fn service() -> RegistryServiceServer<Register> {
    RegistryServiceServer::new(Register).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Answers `Register`. `EstablishConnection` never comes here: its stream needs windows, resets
/// and frames that a generated service does not see, and is served by [`super::tunnel`].
#[derive(Clone, Copy, Debug)]
pub struct Register;

#[tonic::async_trait]
impl RegistryService for Register {
    type EstablishConnectionStream = tokio_stream::Empty<Result<ConnectionMessage, Status>>;

    async fn register(
        &self,
        _: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let message = "this gateway dials no addresses: open EstablishConnection instead";
        Ok(Response::new(RegisterResponse { success: false, message: message.to_owned() }))
    }

    async fn establish_connection(
        &self,
        _: Request<Streaming<ConnectionMessage>>,
    ) -> Result<Response<Self::EstablishConnectionStream>, Status> {
        Err(Status::unimplemented("EstablishConnection is not served on this listener"))
    }
}
