//! Registers a posemesh node with the discovery service (DDS).
