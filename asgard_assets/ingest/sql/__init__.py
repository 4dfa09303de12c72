"""Databases as Bronze tables: Postgres, MySQL and MariaDB, read in one snapshot and in this process."""
