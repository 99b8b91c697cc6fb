// Serves kinesis-local on a free loopback port, says which, and ends with whoever holds its standard input.
const net = require('net');

// It wants two fixed ports on all interfaces, one of them with TLS. The one without is told.
const PLAIN = 4568;
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
    const wanted = given.map((one) => (one && typeof one === 'object' ? one.port : one)).find((one) => one > 0);
    this.once('listening', () => {
        if (wanted === PLAIN) {
            process.stdout.write(`port ${this.address().port}\n`);
        }
    });
    const done = given.find((one) => typeof one === 'function');
    return listen.call(this, { host: '127.0.0.1', port: 0 }, done);
};
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
process.env.KINESIS_MOCK_PLAIN_PORT = String(PLAIN);
require(process.argv[2]);
