"""Storage commitment: what senders ask for, what is decided and reported, and the receipts that people read (PS3.4 J, PS3.18 13)."""
