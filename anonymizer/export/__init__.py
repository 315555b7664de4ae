"""What leaves the house: packages for the person who asks or an authority, signed, and what checks them."""
