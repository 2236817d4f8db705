//! Fresh facts on a real PostgreSQL: what is revoked allows nothing after the bound, under load and through every fault,
//! and each fault heals by itself.

mod cells;
mod equal;
mod failover;
mod faults;
mod isolation;
mod load;
mod writes;
