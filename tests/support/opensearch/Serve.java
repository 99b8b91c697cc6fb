import java.util.ArrayList;
import java.util.List;

import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * Serves one OpenSearch node on two given loopback ports, and ends with whoever holds its standard input. Arguments: a
 * folder for all it writes, the port for HTTP, the port for other nodes, and the class of a plugin, where there is one.
 */
public final class Serve {
    public static void main(String[] args) throws Exception {
        Thread watch = new Thread(Serve::watch);
        watch.setDaemon(true);
        watch.start();
        List<String> options = new ArrayList<>(List.of("-basePath", args[0], "-numOfNode", "1", "-clusterName", "trailship"));
        if (args.length > 3) {
            options.addAll(List.of("-pluginTypes", args[3]));
        }
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", args[1]);
            settings.put("transport.port", args[2]);
            // A nearly full disk is no concern of the tests.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(options.toArray(new String[0]));
        Thread.currentThread().join();
    }

    private static void watch() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is said there.
            }
        } catch (java.io.IOException gone) {
            // The same as its end.
        }
        Runtime.getRuntime().halt(0);
    }
}
