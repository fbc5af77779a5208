"""What people see in a terminal; imports results and what stands below."""
