//! The Helm chart as its tests see it.
//!
//! * [`helm`]: the chart, rendered by the real helm,
//! * [`reference`]: the chart's README, generated from its schema and its values.

pub mod helm;
pub mod reference;
