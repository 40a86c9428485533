//! (to be written)

mod settings;

pub use settings::{
    AccessLog, AdminSettings, Cold, Cors, CorsOrigins, FailedAuth, HostRule, Hot, KeySettings,
    Limits, ListenAddress, LogFormat, LogLevel, LogSettings, Network, Snapshot, Timeouts,
    Underscores, UpstreamServer, UpstreamSettings,
};
