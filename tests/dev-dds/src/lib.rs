//! A local DDS.
