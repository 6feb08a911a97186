//! Database servers for tests.
//!
//! * [`Kind`]: which server, and where its programs are,
//! * [`Server`]: one that runs, which can be frozen, stopped and started again,
//! * `process`: that no server outlives the test that started it.
//!
//! A server is a real one: Debian's `postgresql` or `mariadb-server`, in a temporary directory, on a free port of loopback unless told
//! where. It keeps nothing safe from a power loss. Where the tests run as root, it runs as another user: both refuse root.

mod kind;
mod process;
mod server;

pub use kind::Kind;
pub use server::Server;
