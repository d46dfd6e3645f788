module example.org/guest

go 1.18
