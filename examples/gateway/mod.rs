//! The way to the gateway, for all examples in Rust.

use std::{env, error::Error, fs};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// `ADIT_ADDRESS` is `host:port`, or `https://host:port` for TLS. Then `ADIT_CA_FILE` has the CA, if
/// it is one of your own, `ADIT_CERT_FILE` and `ADIT_KEY_FILE` what to show if that is asked for.
pub(crate) fn endpoint() -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let address = env::var("ADIT_ADDRESS").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    if !address.starts_with("https://") {
        return Ok(Endpoint::from_shared(format!("http://{address}"))?);
    }
    let file = |variable| env::var_os(variable).map(fs::read).transpose();
    let tls = match file("ADIT_CA_FILE")? {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let tls = match (file("ADIT_CERT_FILE")?, file("ADIT_KEY_FILE")?) {
        (Some(certificate), Some(key)) => tls.identity(Identity::from_pem(certificate, key)),
        _ => tls,
    };
    Ok(Endpoint::from_shared(address)?.tls_config(tls)?)
}
