"""The way to the gateway: ADIT_ADDRESS, as host:port, or as https://host:port for TLS.

With TLS, ADIT_CA_FILE has the CA of the gateway's certificate, if it is one of your own, ADIT_CERT_FILE and
ADIT_KEY_FILE the certificate to show and its key, if the gateway asks for one. All are files in PEM."""
import os
from pathlib import Path

import grpc


def dial(library, options=None):
    """A channel of grpc or of grpc.aio. The files are read each time, for they may have been renewed."""
    scheme, _, address = os.environ.get("ADIT_ADDRESS", "127.0.0.1:50051").rpartition("://")
    if scheme != "https":
        return library.insecure_channel(address, options)
    files = [os.environ.get(name) for name in ("ADIT_CA_FILE", "ADIT_KEY_FILE", "ADIT_CERT_FILE")]
    credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
    return library.secure_channel(address, credentials, options)
