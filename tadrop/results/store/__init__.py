"""What a record and its side files must hold, read as what strangers wrote."""
