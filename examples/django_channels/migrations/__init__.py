"""How the tables of the site came about."""
