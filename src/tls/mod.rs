//! TLS by rustls: certificates and keys from files, one configuration for clients and one for each upstream.
