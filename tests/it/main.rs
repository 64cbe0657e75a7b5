//! Integration tests that need no privileges, in one binary.
