//! Tunnels come, count, go and are looked at.
