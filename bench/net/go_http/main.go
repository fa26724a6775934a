// HTTP "hello" with net/http, a full HTTP server: a peer of the weft server.
//
//	go_http --port=7000
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
)

func main() {
	port := flag.Int("port", 7000, "port on 127.0.0.1")
	flag.Parse()
	page := []byte("Hello, World!")
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "text/plain")
		response.Write(page)
	})
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), nil))
}
