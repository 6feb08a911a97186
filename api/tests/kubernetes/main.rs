//! The API over a Kubernetes cluster whose API server is played by [`cluster`], with pods that are played by [`pod`].

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod cluster;
mod fixture;
mod pod;

mod changing;
mod knowing;
mod program;
mod routing;
mod serving;
