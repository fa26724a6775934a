// TCP echo with a goroutine per connection: a peer of the weft server.
//
//	go_echo --port=7000
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
)

const bufferSize = 32768 // as in the other servers

func main() {
	port := flag.Int("port", 7000, "port on 127.0.0.1")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection)
	}
}

// echo answers until the peer is gone.
func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferSize)
	for {
		received, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:received]); err != nil {
			return
		}
	}
}
