//! What every sink and every transport must show. A connector's own tests call these with a way to open it.

pub mod sink;
pub mod source;
pub mod transport;
