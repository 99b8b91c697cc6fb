//! What the program tells of itself, and the address it listens on for that: `"127.0.0.1:9464"`.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::At;
use super::value::ValueError;

/// What the program tells of itself while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where `/metrics` (for Prometheus), `/healthz` and `/readyz` are answered over HTTP: an address of this machine and a
    /// port; 0 is any free one, and logged. Whoever reaches the address can read them. Default: nowhere.
    pub listen: Option<At<Listen>>,
}

/// An address of this machine and a port; port 0 is any that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

impl Listen {
    /// Returns the address.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let hint = match (host, port.parse::<u16>()) {
            ("localhost", Ok(port)) => return Ok(Self(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
            // Elsewhere this means every address; here nothing is open to others unless it is written.
            ("", Ok(port)) => format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every network"),
            _ => "write an IP address and a port, as in \"127.0.0.1:9464\" or \"[::1]:9464\"".to_owned(),
        };
        Err(ValueError::new(format!("`{text}` is not an address to listen on"), hint))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IP address and a port: `\"127.0.0.1:9464\"`.",
            "type": "string",
            "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+|localhost):[0-9]{1,5}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_and_a_port() {
        for (text, read) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:9464", "[::1]:9464"),
            ("localhost:9464", "127.0.0.1:9464"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(read.to_owned()));
        }
        for text in ["9464", ":9464", "example.com:80", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        let open = ":9464".parse::<Listen>().unwrap_err();
        assert_eq!(open.hint, "write \"127.0.0.1:9464\", or \"0.0.0.0:9464\" for every network");
    }
}
