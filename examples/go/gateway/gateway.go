// Package gateway knows how the examples reach the gateway.
package gateway

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Connect connects to the gateway, once a call needs it.
//
// ADIT_ADDRESS is host:port, or https://host:port for a gateway with TLS. Then ADIT_CA_FILE names whom
// to trust if not the usual authorities, and ADIT_CERT_FILE and ADIT_KEY_FILE say who is calling.
func Connect(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	address := cmp.Or(os.Getenv("ADIT_ADDRESS"), "127.0.0.1:50051")
	target, encrypted := strings.CutPrefix(address, "https://")
	transport := insecure.NewCredentials()
	if encrypted {
		config, err := tlsConfig()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	}
	target = strings.TrimPrefix(target, "http://")
	return grpc.NewClient(target, append(options, grpc.WithTransportCredentials(transport))...)
}

func tlsConfig() (*tls.Config, error) {
	config := &tls.Config{}
	if path := os.Getenv("ADIT_CA_FILE"); path != "" {
		authorities, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ADIT_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("ADIT_CA_FILE: %s has no certificate", path)
		}
	}
	if path := os.Getenv("ADIT_CERT_FILE"); path != "" {
		certificate, err := tls.LoadX509KeyPair(path, os.Getenv("ADIT_KEY_FILE"))
		if err != nil {
			return nil, fmt.Errorf("ADIT_CERT_FILE and ADIT_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}
